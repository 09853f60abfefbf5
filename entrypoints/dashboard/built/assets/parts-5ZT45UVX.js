//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-C3DH7NXW.js";import"./chunk-JMVSK4EX.js";export{a as Activity,b as Invitations,c as NewProject};
