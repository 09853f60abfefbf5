//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-3PRP6FOM.js";import"./chunk-NWXVXCGL.js";export{a as Activity,b as Invitations,c as NewProject};
