//# allFunctionsCalledOnLoad
import{P as a,Q as b,R as c}from"./chunk-F4VHKM4F.js";import"./chunk-S5PZW5GP.js";export{a as Activity,b as Invitations,c as NewProject};
