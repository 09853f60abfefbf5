//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-PRYA2D4H.js";import"./chunk-AOBK775P.js";export{a as Activity,b as Invitations,c as NewProject};
